# The window of records behind a letter starts when they become claimable. Before
# that they fill no batch, and their window does not send the others.
config batch=3 parallel=2 window=5s backoff=1s
seen invoke wake
redrive X:a
    invoke X
put a a
wait 3s
put b
    wake in 5s
wait 4s
status
    next 1, read 3, waiting 3, out 1: the batching window is open
    redrive X, attempts 0: out
wait 1s
    invoke 3
done 3
    wake in 5ms
done X
    wake in 5s
wait 4s
status
    next 1, read 3, waiting 2, out 0: the batching window is open
wait 1s
    invoke 1-2
