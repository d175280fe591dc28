# A failing batch emits nothing; each half does when it is done.
config batch=4 retries=0 bisect
seen invoke commit bury
put 4
    invoke 1-4
fail 1-4 emit=1
    invoke 1-2
    commit next 1 urgent unit 1-2 attempts 0 unit 3-4 attempts 0
done 1-2 emit=1
    invoke 3-4
    commit next 3 urgent unit 3-4 attempts 0 outputs 1.0,2.0
fail 3-4 emit=1
    invoke 3
    commit next 3 urgent unit 3-3 attempts 0 unit 4-4 attempts 0
fail 3 emit=1
    commit next 4 urgent unit 4-4 attempts 0
    bury 3 RetryAttemptsExhausted, attempts 1, 1 of 1
    invoke 4
done 4 emit=1
    commit next 5 urgent outputs 4.0
