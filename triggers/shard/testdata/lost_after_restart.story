# After a restart it is known how many of a gap's records were resolved before, but
# not which: what is counted is told of as so many of the gap's. A gap that the
# checkpoint itself names is not told of again.
config parallel=2 batch=2 retries=9
seen invoke gap lost commit
put a a b b
    invoke 1-2
    invoke 3-4
done 3-4
wait 1s
    commit next 1 finished 1-4 of b
fail 1-2
    commit next 1 urgent finished 1-4 of b unit 1-2 attempts 1
gap 5-7
put 3
    gap 5 to 7
    lost 5 to 7, 3: trimmed
    commit next 1 finished 1-7 of b finished 5-7 of all unit 1-2 attempts 1 gaps 3
put b
    invoke 8
done 8
    commit next 1 finished 1-8 of b finished 5-7 of all unit 1-2 attempts 1 gaps 3
gap 1-7
restart
    gap 1 to 7
    lost 1 to 4, 2: trimmed
    commit next 8 finished 8-8 of b gaps 5
    commit next 9 gaps 5
