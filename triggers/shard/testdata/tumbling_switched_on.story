# A batch that is retried when windows are switched on is cut where they begin: nothing is
# invoked in no window, and none is open beside another.
config batch=4 retries=3 window=200s
seen invoke
put 2
wait 60s
put 2
    invoke 1-4
fail 1-4
config tumbling=60s window=0s
wait 1s
    invoke 1-2, attempt 2, invocation 2 in 00:00:00 to 00:01:00, state 
done 1-2
    invoke final in 00:00:00 to 00:01:00, state [1,2]
done final
    invoke 3-4 in 00:01:00 to 00:02:00, state 
done 3-4
wait 70s
    invoke final in 00:01:00 to 00:02:00, state [3,4]
