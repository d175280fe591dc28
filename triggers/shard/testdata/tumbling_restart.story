# A kill in mid-window: the state is that of the last durable commit, and the records behind it run
# again.
config batch=2 tumbling=60s
seen invoke commit
put 4
    invoke 1-2 in 00:00:00 to 00:01:00, state 
done 1-2
    invoke 3-4 in 00:00:00 to 00:01:00, state [1,2]
wait 5ms
    commit next 3 window 00:00:00 state [1,2]
restart
    invoke 3-4 in 00:00:00 to 00:01:00, state [1,2]
hold commits
done 3-4
    commit next 5 window 00:00:00 state [1,2,3,4]
restart
    invoke 3-4 in 00:00:00 to 00:01:00, state [1,2]
free commits
done 3-4
    commit next 5 window 00:00:00 state [1,2,3,4]
wait 61s
    invoke final in 00:00:00 to 00:01:00, state [1,2,3,4]
    commit next 5 window 00:00:00 state [1,2,3,4] closing attempts 0
restart
    invoke final in 00:00:00 to 00:01:00, state [1,2,3,4]
done final
    commit next 5 urgent
