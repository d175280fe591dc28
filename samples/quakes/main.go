// Quakes is a Lambda function that reads earthquakes from a Kinesis stream. It
// emits those that people may feel to the stream alerts, and counts all of them
// by the network that reported them to the stream tallies.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

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

const (
	felt   = 2.5 // the magnitude from which on a quake is worth an alert
	strong = 4.5 // and a line in the log
)

// reply is what the function returns: records for other streams, which become
// visible together with the checkpoint of this batch, or never.
type reply struct {
	Emit []emit `json:"emit"`
}

type emit struct {
	Stream       string `json:"stream"`
	PartitionKey string `json:"partitionKey"`
	Data         []byte `json:"data"`
}

func handle(ctx context.Context, event events.KinesisEvent) (reply, error) {
	var out reply
	tally := map[string]int{}
	for _, record := range event.Records {
		var q quake
		if err := json.Unmarshal(record.Kinesis.Data, &q); err != nil {
			return reply{}, fmt.Errorf("record %s: %w", record.Kinesis.SequenceNumber, err)
		}
		energy, err := energy(q.Properties.Mag)
		if err != nil {
			return reply{}, fmt.Errorf("quake %s: %v", q.ID, err)
		}
		tally[q.Properties.Net]++
		if q.Properties.Mag >= felt {
			out.Emit = append(out.Emit, emit{"alerts", q.Properties.Net, record.Kinesis.Data})
		}
		if q.Properties.Mag >= strong {
			log.Printf("%s: magnitude %.1f, %.1f times the energy of a quake of 2.5, %s", q.Properties.Net, q.Properties.Mag, energy, q.Properties.Place)
		}
	}
	counts, err := json.Marshal(tally)
	if err != nil {
		return reply{}, err
	}
	out.Emit = append(out.Emit, emit{"tallies", "tally", counts})
	return out, nil
}

func main() {
	lambda.Start(handle)
}
