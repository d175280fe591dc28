# esm.md 6.4: 8 records, number 6 is poison, bisect, 1 retry. Exactly these eight
# invocations in this order: halves before the first retry, at once, left before
# right, a full quota each; only the record that cannot be halved burns it.
config batch=8 retries=1 bisect
put 8
    invoke 1-8
fail 1-8
    invoke 1-4
done 1-4
    invoke 5-8
fail 5-8
    invoke 5-6
fail 5-6
    invoke 5
done 5
    invoke 6
fail 6
wait 1s
    invoke 6, attempt 2, invocation 2
fail 6
    bury 6 RetryAttemptsExhausted, attempts 2, 1 of 1
    invoke 7-8
done 7-8
status
    next 9, read 8, waiting 0, out 0: no records: everything stored has been read
