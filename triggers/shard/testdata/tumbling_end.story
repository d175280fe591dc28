# The end of the shard ends the window before its time; the shard is finished after that.
config batch=3 tumbling=60s
seen invoke commit finished
put 2
    invoke 1-2 in 00:00:00 to 00:01:00, state 
done 1-2
    commit next 3 window 00:00:00 state [1,2]
end
    invoke final in 00:00:00 to 00:01:00, state [1,2], early
fail final
    commit next 3 urgent window 00:00:00 state [1,2] closing attempts 1
wait 1s
    invoke final, attempt 2, invocation 2 in 00:00:00 to 00:01:00, state [1,2], early
done final
    commit next 3 urgent ended
    finished ended=true fenced=false
