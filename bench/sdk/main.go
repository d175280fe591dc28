// Command sdk is a handler of the size that handlers have: it makes a client of
// aws-sdk-go-v2 when it starts, and writes an item if the batch asks for it.
package main

import (
	"context"
	"log"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

var (
	client *dynamodb.Client
	seen   int
)

func handle(ctx context.Context, e events.KinesisEvent) error {
	for i := range e.Records {
		r := &e.Records[i].Kinesis
		seen += len(r.Data)
		if r.PartitionKey != "write" {
			continue
		}
		table := "events"
		if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
			"id": &types.AttributeValueMemberS{Value: r.SequenceNumber},
		}}); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client = dynamodb.NewFromConfig(cfg)
	lambda.Start(handle)
}
