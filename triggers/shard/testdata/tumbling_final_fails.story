# The final invocation blocks the shard until it succeeds: neither retries nor age give it up. What it
# went through survives a restart.
config batch=10 retries=1 age=60s tumbling=60s backoff=1s
seen invoke commit
put 1
    invoke 1 in 00:00:00 to 00:01:00, state 
done 1
    commit next 2 window 00:00:00 state [1]
wait 61s
    invoke final in 00:00:00 to 00:01:00, state [1]
put 1
fail final
    commit next 2 urgent window 00:00:00 state [1] closing attempts 1
wait 2s
    invoke final, attempt 2, invocation 2 in 00:00:00 to 00:01:00, state [1]
timeout final
    commit next 2 urgent window 00:00:00 state [1] closing attempts 2
wait 4s
    invoke final, attempt 3, invocation 3 in 00:00:00 to 00:01:00, state [1]
restart
    invoke final, attempt 3, invocation 3 in 00:00:00 to 00:01:00, state [1]
throttle final
    commit next 2 window 00:00:00 state [1] closing attempts 2
status
    next 2, read 2, waiting 1, out 0: the final invocation of a tumbling window has to succeed first
    window 00:00:00, attempts 2: back-off
wait 10s
    invoke final, attempt 3, invocation 4 in 00:00:00 to 00:01:00, state [1]
done final emit=1
    invoke 2 in 00:01:00 to 00:02:00, state 
    commit next 2 urgent window 00:01:00 state 
done 2
    commit next 3 window 00:01:00 state [2]
