# Filtered records count in no bound: a window that is open goes on filling, however many
# are dropped between.
config batch=2 window=5s
filter 2-60
put 60
status
    next 1, read 60, waiting 1, out 0: the batching window is open
put 1
    invoke 1,61
