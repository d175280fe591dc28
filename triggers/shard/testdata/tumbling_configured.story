# Windows of another length, or none: that under way is closed early first. A unit that is out
# keeps its window.
config batch=2 retries=3 tumbling=60s
seen invoke
put 4
    invoke 1-2 in 00:00:00 to 00:01:00, state 
fail 1-2
config tumbling=30s
wait 1s
    invoke 1-2, attempt 2, invocation 2 in 00:00:00 to 00:01:00, state 
done 1-2
    invoke final in 00:00:00 to 00:01:00, state [1,2], early
done final
    invoke 3-4 in 00:00:00 to 00:00:30, state 
done 3-4
config tumbling=0s parallel=4
    invoke final in 00:00:00 to 00:00:30, state [3,4], early
done final
put a b c
    invoke 5-6
    invoke 7
