# "Lowest failed" is over the unit's records: what lies between them in the shard
# belongs to another key's unit, and is neither resolved nor repeated by the reply.
config parallel=2 batch=1 retries=1 partial
seen invoke commit
put a
    invoke 1
config batch=3
put b a b a b
    invoke 2,4,6
partial 2,4,6 at=4
    invoke 4,6
    commit next 1 urgent finished 1-3 of b unit 4-6 attempts 0
done 1
    invoke 3,5
done 4,6
done 3,5
    commit next 7
