# esm.md 6.2: retention at the source acts like the age, but silently; here it is
# counted. It is looked at before each invocation, for each record, also of what is
# in memory: a poison head is not tried beyond it. What is behind it goes on.
config batch=4 retention=24h backoff=60s
seen invoke bury lost commit release
hold fetches
put 2 age=23h59m
put 1 age=-1h
put 1 age=23h59m
fetch
    invoke 1-4
fail 1-4
    commit next 1 urgent unit 1-4 attempts 1
wait 60s
    invoke 1-4, attempt 2, invocation 2
fail 1-4
    commit next 1 urgent unit 1-4 attempts 2
wait 61s
    lost 1 to 2, 2: retention
    lost 4 to 4, 1: retention
    invoke 3, attempt 3, invocation 3
    release below 3 and 4
    commit next 3 finished 4-4 of a unit 3-4 attempts 2 gaps 3
done 3
    commit next 5 gaps 3
    release below 5
