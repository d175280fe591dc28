# Retention has taken what a restored unit was made of: it is passed, and counted once.
config parallel=2 batch=2 retries=9 bisect
seen invoke gap commit
put a a b b
    invoke 1-2
    invoke 3-4
put a b
fail 1-2
    invoke 1
    commit next 1 urgent unit 1-1 attempts 0 unit 2-2 attempts 0
done 3-4
    invoke 6
gap 1-5
restart
    gap 1 to 5
    commit next 6 gaps 5
    invoke 6
done 6
    commit next 7 gaps 5
