# esm.md 3.5: windows are aligned to their length, the state goes from one invocation to the
# next, and when a window is over there is one invocation more, without records.
config batch=2 tumbling=60s
seen invoke commit
put 3
    invoke 1-2 in 00:00:00 to 00:01:00, state 
done 1-2
    invoke 3 in 00:00:00 to 00:01:00, state [1,2]
done 3
    commit next 4 window 00:00:00 state [1,2,3]
wait 59s
put 1
    invoke 4 in 00:00:00 to 00:01:00, state [1,2,3]
done 4
    commit next 5 window 00:00:00 state [1,2,3,4]
wait 2s
    invoke final in 00:00:00 to 00:01:00, state [1,2,3,4]
done final
    commit next 5 urgent
put 2
    invoke 5-6 in 00:01:00 to 00:02:00, state 
