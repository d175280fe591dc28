# n = 2, bisect: the right half holds its buckets while the left one is tried.
config parallel=2 batch=4 retries=1 bisect
put a b a b
    invoke 1-4
put a c
    invoke 6
fail 1-4
    invoke 1-2
fail 1-2
    invoke 1
fail 1
status
    next 1, read 6, waiting 1, out 1: 
    unit 1-1, 1 records, attempts 1: back-off
    unit 2-2, 1 records, attempts 0: sibling
    unit 3-4, 2 records, attempts 0: sibling
    unit 6-6, 1 records, attempts 0: out
done 6
wait 1s
    invoke 1, attempt 2, invocation 2
fail 1
    bury 1 RetryAttemptsExhausted, attempts 2, 1 of 1
    invoke 2
done 2
    invoke 3-4
done 3-4
    invoke 5
