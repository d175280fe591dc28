# A record that is blocked behind its key starts no window, even with a slot free;
# it does when its bucket is free.
config parallel=2 batch=1 window=5s
seen invoke wake
put a
    invoke 1
config batch=2
wait 1s
put a
wait 2s
done 1
    wake in 5s
wait 4s
wait 1s
    invoke 2
