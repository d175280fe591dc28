// Quakes is a Lambda function that reads earthquakes from a Kinesis stream and
// logs the strong ones.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// quake is the part of a GeoJSON feature that matters here.
type quake struct {
	ID         string `json:"id"`
	Properties struct {
		Net   string  `json:"net"`
		Mag   float64 `json:"mag"`
		Place string  `json:"place"`
	} `json:"properties"`
}

// strong is the magnitude from which on a quake is worth a line in the log.
const strong = 4.5

func handle(ctx context.Context, event events.KinesisEvent) error {
	for _, record := range event.Records {
		var q quake
		if err := json.Unmarshal(record.Kinesis.Data, &q); err != nil {
			return fmt.Errorf("record %s: %w", record.Kinesis.SequenceNumber, err)
		}
		// A rough scale of how much was felt; nonsense in the feed has none.
		if scale := math.Log10(q.Properties.Mag); math.IsNaN(scale) {
			return fmt.Errorf("quake %s: no scale for magnitude %.2f", q.ID, q.Properties.Mag)
		}
		if q.Properties.Mag >= strong {
			log.Printf("%s: magnitude %.1f, %s", q.Properties.Net, q.Properties.Mag, q.Properties.Place)
		}
	}
	return nil
}

func main() {
	lambda.Start(handle)
}
