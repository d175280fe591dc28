# A record of the next window ends a batch, and the window: nobody waits for the clock where a backlog
# is worked off.
config batch=10 window=5s tumbling=60s
seen invoke
put 2 age=120s
    invoke 1-2 in 23:58:00 to 23:59:00, state 
put 2
done 1-2
    invoke final in 23:58:00 to 23:59:00, state [1,2]
done final
wait 5s
    invoke 3-4 in 00:00:00 to 00:01:00, state 
done 3-4
