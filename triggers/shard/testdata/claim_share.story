# A unit claims at most ceil(64/n) buckets: 16 at n = 4, the ones with the oldest heads.
config parallel=4 batch=100
put t s r q p o n m l k j i h g f e d c b a
    invoke 1-16
    invoke 17-20
