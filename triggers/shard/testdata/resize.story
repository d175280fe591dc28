# Changing n moves nothing: what is out stays out, new claims follow the new n.
config parallel=1 batch=1
put a b c d
    invoke 1
resize 3
done 1
    invoke 2
    invoke 3
    invoke 4
done 2
resize 1
status
    next 3, read 4, waiting 0, out 2: 
    unit 3-3, 1 records, attempts 0: out
    unit 4-4, 1 records, attempts 0: out
done 4
done 3
