# While more is stored a batch is not sent before it is full, however small the
# pieces are in which records are read.
config batch=10
hold fetches
put 15
fetch 4
fetch 4
fetch 4
    invoke 1-10
fetch 4
done 1-10
    invoke 11-15
