module example.com/dial

go 1.26

require github.com/aws/aws-lambda-go v1.55.1

require example.org/driver v0.0.0

replace example.org/driver => ./driver
