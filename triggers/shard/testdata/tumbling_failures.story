# Within a window the rules of failures are what they are: halves see the state that the half
# before has left, and what is given up leaves none.
config batch=4 retries=0 bisect partial tumbling=60s
seen invoke bury
put 4
    invoke 1-4 in 00:00:00 to 00:01:00, state 
fail 1-4
    invoke 1-2 in 00:00:00 to 00:01:00, state 
done 1-2
    invoke 3-4 in 00:00:00 to 00:01:00, state [1,2]
fail 3-4
    invoke 3 in 00:00:00 to 00:01:00, state [1,2]
partial 3 at=3
    bury 3 RetryAttemptsExhausted, attempts 1, 1 of 1
    invoke 4 in 00:00:00 to 00:01:00, state [1,2]
done 4
put 3
    invoke 5-7 in 00:00:00 to 00:01:00, state [1,2,4]
partial 5-7 at=6
    invoke 6-7 in 00:00:00 to 00:01:00, state [1,2,4,5]
done 6-7
wait 61s
    invoke final in 00:00:00 to 00:01:00, state [1,2,4,5,6,7]
