# The same unit is tried again after 500 ms, doubled each time up to 60 s, and at
# most a quarter more. Progress starts afresh.
config batch=2 partial
seen invoke wake
put 2
    invoke 1-2
fail 1-2
    wake in 603ms
wait 1s
    invoke 1-2, attempt 2, invocation 2
fail 1-2
    wake in 1.141s
wait 2s
    invoke 1-2, attempt 3, invocation 3
fail 1-2
    wake in 2.356s
wait 3s
    invoke 1-2, attempt 4, invocation 4
fail 1-2
    wake in 4.962s
wait 5s
    invoke 1-2, attempt 5, invocation 5
fail 1-2
    wake in 9.423s
wait 10s
    invoke 1-2, attempt 6, invocation 6
fail 1-2
    wake in 19.095s
wait 20s
    invoke 1-2, attempt 7, invocation 7
fail 1-2
    wake in 32.902s
wait 40s
    invoke 1-2, attempt 8, invocation 8
fail 1-2
    wake in 49.84s
wait 60s
    invoke 1-2, attempt 9, invocation 9
fail 1-2
    wake in 57.582s
wait 60s
    invoke 1-2, attempt 10, invocation 10
partial 1-2 at=2
    invoke 2
partial 2 at=2
    wake in 620ms
