# What is left of a batch goes with the state that there is by then: what has no room beside it comes
# behind, in a window begun anew if the state leaves no room for a single record.
config batch=4 retries=1 partial tumbling=60s maxbytes=5000
seen invoke
put 4 size=1000
    invoke 1-4 in 00:00:00 to 00:01:00, state 
partial 1-4 at=2 state=1500
    invoke 2-3 in 00:00:00 to 00:01:00, state [1]
done 2-3 state=3600
    invoke final in 00:00:00 to 00:01:00, state [1,2,3], early
done final
    invoke 4 in 00:00:00 to 00:01:00, state 
done 4
