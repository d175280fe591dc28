# A record beyond both limits becomes a dead letter: its payload is still at hand.
# One beyond retention alone is lost.
config batch=4 retention=24h age=24h backoff=60s
seen invoke bury lost commit
put 2 age=23h59m30s
    invoke 1-2
fail 1-2
    commit next 1 urgent unit 1-2 attempts 1
wait 60s
    commit next 3 urgent
    bury 1 RecordAgeExceeded, attempts 1, 1 of 2
    bury 2 RecordAgeExceeded, attempts 1, 2 of 2
config age=60h
put 2 age=23h59m30s
    invoke 3-4
fail 3-4
    commit next 3 urgent unit 3-4 attempts 1
wait 60s
    lost 3 to 4, 2: retention
    commit next 5 gaps 2
