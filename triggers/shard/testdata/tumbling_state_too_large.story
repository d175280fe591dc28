# A state of more than 1 MB ends the window early; what is left of the batch begins it anew.
config batch=3 retries=0 bisect tumbling=60s
seen invoke
put 3
    invoke 1-3 in 00:00:00 to 00:01:00, state 
fail 1-3
    invoke 1 in 00:00:00 to 00:01:00, state 
done 1 state=1048576
    invoke final in 00:00:00 to 00:01:00, state [1], early
done final
    invoke 2-3 in 00:00:00 to 00:01:00, state 
done 2-3
