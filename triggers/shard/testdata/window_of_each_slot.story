# The window belongs to a free slot: with two, each bucket group has its own.
config parallel=2 batch=3 window=5s
put a
wait 2s
put b c
    invoke 1-3
wait 3s
put a b d
status
    next 1, read 6, waiting 3, out 1: the batching window is open
    unit 1-3, 3 records, attempts 0: out
done 1-3
    invoke 4-6
wait 5s
