# What throttles and failures of the host say is seen in the status, so that nobody
# has to guess why nothing moves. Dead letters name what the function last said.
config batch=2 age=60s
seen bury invoke
put 2
    invoke 1-2
infra 1-2
status
    next 1, read 2, waiting 0, out 0: every slot is in back-off after failures
    unit 1-2, 2 records, attempts 0: back-off, infra
wait 1s
    invoke 1-2, attempt 1, invocation 2
fail 1-2
status
    next 1, read 2, waiting 0, out 0: every slot is in back-off after failures
    unit 1-2, 2 records, attempts 1: back-off
wait 1s
    invoke 1-2, attempt 2, invocation 3
throttle 1-2
status
    next 1, read 2, waiting 0, out 0: every slot is in back-off after failures
    unit 1-2, 2 records, attempts 1: back-off, throttled
wait 61s
    invoke 1-2, attempt 2, invocation 4
throttle 1-2
wait 1s
    bury 1 RecordAgeExceeded, attempts 1, 1 of 2
    bury 2 RecordAgeExceeded, attempts 1, 2 of 2
# It never said anything of these.
put 2
    invoke 3-4
throttle 3-4
wait 61s
    invoke 3-4, attempt 1, invocation 2
throttle 3-4
wait 1s
    bury 3 RecordAgeExceeded, attempts 0, 1 of 2
    bury 4 RecordAgeExceeded, attempts 0, 2 of 2
