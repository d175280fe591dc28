# With all slots taken no window runs, though a record could be claimed: it starts
# when a slot is free.
config parallel=2 batch=1 window=5s
seen invoke wake
put a
    invoke 1
put b
    invoke 2
config batch=2
put c
wait 3s
done 1
    wake in 5ms
wait 4s
    wake in 4.995s
wait 1s
    invoke 3
