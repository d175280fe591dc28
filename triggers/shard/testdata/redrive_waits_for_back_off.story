# A unit keeps its buckets through its back-off, from redrives too.
config parallel=3 batch=2 retries=-1 backoff=1s
seen invoke
put a b
    invoke 1-2
fail 1-2
redrive X:a Y:c
    invoke Y
status
    next 1, read 2, waiting 0, out 1: no records: everything stored has been read
    unit 1-2, 2 records, attempts 1: back-off
    redrive X, attempts 0: sibling
    redrive Y, attempts 0: out
done Y
wait 2s
    invoke 1-2, attempt 2, invocation 2
done 1-2
    invoke X
done X
