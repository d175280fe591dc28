# Records behind a letter in back-off neither fill the batch of the others nor open their window.
config batch=3 window=5s backoff=20s
seen invoke wake
redrive X:a
    invoke X
fail X
    wake in 22.178s
put a a
    wake in 22.178s
wait 2s
put b
    wake in 20.178s
    wake in 5s
wait 5s
    invoke 3
    wake in 15.178s
done 3
wait 20s
    invoke X, attempt 2, invocation 2
done X
    wake in 5s
wait 5s
    invoke 1-2
