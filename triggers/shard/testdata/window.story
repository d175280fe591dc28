# esm.md 4: a window starts with the first claimable record and ends at its deadline.
config batch=10 window=5s
seen invoke wake
put 2
    wake in 5s
wait 3s
put 2
    wake in 2s
wait 1999ms
wait 1ms
    invoke 1-4
# While the slot is taken no window runs; the next starts when it is free.
put 3
wait 10s
done 1-4
    wake in 5s
wait 4s
wait 1s
    invoke 5-7
# Full: at once.
done 5-7
put 9
    wake in 5s
wait 1s
put 1
    wake in 4s
    invoke 8-17
    wake never
