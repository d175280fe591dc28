# ceil(64/n) buckets: 22 at n = 3, and the four that are left.
config parallel=3 batch=100
hold fetches
put a b c d e f g h i j k l m n o p q r s t u v w x y z
fetch
    invoke 1-22
    invoke 23-26
