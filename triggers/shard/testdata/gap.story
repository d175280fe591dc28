# Numbers that cannot be read any more are counted and passed.
config batch=4
seen invoke gap commit fetch
gap 1-3
gap 6-7
put 10
    fetch 1, 40 records
    gap 1 to 3
    fetch 4, 40 records
    commit next 4 gaps 3
    fetch 6, 38 records
    gap 6 to 7
    fetch 8, 36 records
    invoke 4-5,8-9
done 4-5,8-9
    invoke 10
done 10
    commit next 11 gaps 5
