# A record that comes late, its window being closed, opens that anew, with no state; the
# window that is under way is closed before its time.
config batch=1 tumbling=60s
seen invoke
put 1
    invoke 1 in 00:00:00 to 00:01:00, state 
done 1
put 1 age=60s
    invoke final in 00:00:00 to 00:01:00, state [1], early
done final
    invoke 2 in 23:59:00 to 00:00:00, state 
done 2
wait 2s
    invoke final in 23:59:00 to 00:00:00, state [2]
done final
put 1
    invoke 3 in 00:00:00 to 00:01:00, state 
done 3
