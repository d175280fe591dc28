# At n = 1 a redrive in back-off keeps its own bucket, and no slot: batches of
# the other keys go on past it. Afterwards order is that of the shard again.
config batch=3 retries=-1 backoff=10s
seen invoke commit
redrive X:a
    commit next 1 urgent redrive X attempts 0
    invoke X
fail X
    commit next 1 urgent redrive X attempts 1
put a b c a b c
    invoke 2-3,5
done 2-3,5
    invoke 6
fail 6
    commit next 1 urgent finished 1-5 of c finished 1-6 of b unit 6-6 attempts 1 redrive X attempts 1
status
    next 1, read 6, waiting 2, out 0: every slot is in back-off after failures
    unit 6-6, 1 records, attempts 1: back-off
    redrive X, attempts 1: back-off
wait 5s
status
    next 1, read 6, waiting 2, out 0: every slot is in back-off after failures
    unit 6-6, 1 records, attempts 1: back-off
    redrive X, attempts 1: back-off
wait 10s
    invoke 6, attempt 2, invocation 2
done 6
    invoke X, attempt 2, invocation 2
done X
    invoke 1,4
    commit next 1 urgent finished 1-6 of bc redriven X
wait 1s
done 1,4
    commit next 7
put a b c
    invoke 7-9
done 7-9
    commit next 10
