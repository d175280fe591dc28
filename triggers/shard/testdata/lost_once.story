# A gap may cover more than is lost: only what is neither resolved nor in memory is
# told of, in the step that counts it.
config parallel=2 batch=4 retries=9 pinned=450
seen invoke gap lost commit
put a
    invoke 1
fail 1
    commit next 1 urgent unit 1-1 attempts 1
put a a a a
put b
    invoke 6
done 6
    commit next 1 finished 1-6 of b unit 1-1 attempts 1
gap 1-7
wait 1s
    invoke 1, attempt 2, invocation 2
done 1
    commit next 2 finished 2-6 of b
    gap 2 to 6
    lost 2 to 5, 4: trimmed
    commit next 7 gaps 4
put a
    gap 7 to 7
    lost 7 to 7, 1: trimmed
    commit next 8 gaps 5
put a
    invoke 8
done 8
    commit next 9 gaps 5
