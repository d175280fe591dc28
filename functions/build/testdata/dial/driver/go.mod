module example.org/driver

go 1.26
