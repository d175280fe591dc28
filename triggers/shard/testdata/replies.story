# esm.md 5. Success empties the batch.
config batch=4 retries=1 partial
put 4
    invoke 1-4
done 1-4
# An id that is not in the batch, an empty or a wrong one: the whole batch fails.
put 4
    invoke 5-8
partial 5-8 at=bad
wait 1s
    invoke 5-8, attempt 2, invocation 2
# An exception: the whole batch fails.
fail 5-8
    bury 5 RetryAttemptsExhausted, attempts 2, 1 of 4
    bury 6 RetryAttemptsExhausted, attempts 2, 2 of 4
    bury 7 RetryAttemptsExhausted, attempts 2, 3 of 4
    bury 8 RetryAttemptsExhausted, attempts 2, 4 of 4
# Valid ids: what is before the lowest is done, everything from it on is
# invoked again, successes after it too.
put 4
    invoke 9-12
partial 9-12 at=11
    invoke 11-12
done 11-12
# Not enabled in the mapping: the reply is ignored.
config partial=off
put 4
    invoke 13-16
partial 13-16 at=14
status
    next 17, read 16, waiting 0, out 0: no records: everything stored has been read
