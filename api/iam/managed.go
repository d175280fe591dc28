package iam

import (
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"slices"
	"strings"
	"time"
)

const managedPrefix = "arn:aws:iam::aws:policy/"

// isManaged says whether a policy is AWS's own.
func isManaged(arn string) bool { return strings.HasPrefix(arn, managedPrefix) }

// managed is AWS's policy of that ARN. Which there are, wasmill does not know: each ARN is
// taken for one, with a document if it is one of those that functions' roles have.
func managed(arn string) *policy {
	path, name := splitPolicyARN(arn)
	at := time.Date(2015, 2, 6, 18, 40, 0, 0, time.UTC)
	return &policy{Name: name, Path: path, ID: derivedID("ANPA", arn), Created: at, Updated: at,
		Versions: []version{{1, documents[strings.TrimPrefix(arn, managedPrefix)], at}}, Default: 1, Last: 1}
}

// derivedID is an identifier that stays the same for what is not stored.
func derivedID(prefix, of string) string {
	sum := sha256.Sum256([]byte(of))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// knownManaged are the ARNs of AWS's policies whose documents are here.
func knownManaged() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		out = append(out, managedPrefix+name)
	}
	return out
}

const logging = `"logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"`

func allow(actions string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + actions + `],"Resource":"*"}]}`
}

// documents are those of AWS's policies that functions' roles have as a rule.
var documents = map[string]string{
	"AdministratorAccess":                         `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	"service-role/AWSLambdaBasicExecutionRole":    allow(logging),
	"service-role/AWSLambdaKinesisExecutionRole":  allow(`"kinesis:DescribeStream","kinesis:DescribeStreamSummary","kinesis:GetRecords","kinesis:GetShardIterator","kinesis:ListShards","kinesis:ListStreams","kinesis:SubscribeToShard",` + logging),
	"service-role/AWSLambdaDynamoDBExecutionRole": allow(`"dynamodb:DescribeStream","dynamodb:GetRecords","dynamodb:GetShardIterator","dynamodb:ListStreams",` + logging),
	"service-role/AWSLambdaSQSQueueExecutionRole": allow(`"sqs:ReceiveMessage","sqs:DeleteMessage","sqs:GetQueueAttributes",` + logging),
}
