# esm.md 6.4: with no retries halves are still tried, once each. An odd number
# leaves the larger half on the right.
config batch=5 retries=0 bisect
put 5
    invoke 1-5
fail 1-5
    invoke 1-2
fail 1-2
    invoke 1
done 1
    invoke 2
fail 2
    bury 2 RetryAttemptsExhausted, attempts 1, 1 of 1
    invoke 3-5
fail 3-5
    invoke 3
done 3
    invoke 4-5
done 4-5
