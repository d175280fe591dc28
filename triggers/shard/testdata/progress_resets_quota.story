# esm.md 6.1.3, recorded on AWS: batch size 3, six records, the last always
# reported as failed, 3 retries. Record 6 is delivered five times and given up
# with 4 attempts; records 1-5 are delivered once.
config batch=3 retries=3 partial
put 6
    invoke 1-3
done 1-3
    invoke 4-6
partial 4-6 at=6
    invoke 6
partial 6 at=6
wait 1s
    invoke 6, attempt 2, invocation 2
partial 6 at=6
wait 2s
    invoke 6, attempt 3, invocation 3
partial 6 at=6
wait 4s
    invoke 6, attempt 4, invocation 4
partial 6 at=6
    bury 6 RetryAttemptsExhausted, attempts 4, 1 of 1
