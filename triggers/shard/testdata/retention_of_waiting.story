# Records that wait behind a failing unit expire in memory too. When all that a
# free slot takes is lost, the slot goes to the next at once.
config parallel=2 batch=2 retention=24h backoff=60s
seen invoke lost commit
put a a age=23h59m
    invoke 1-2
put b
    invoke 3
fail 1-2
    commit next 1 urgent unit 1-2 attempts 1
put b b c c c c age=23h59m
put c
wait 61s
    invoke 1-2, attempt 2, invocation 2
done 3
    lost 4 to 9, 6: retention
    invoke 10
