// Reads the topic of metrics and posts its samples to vmagent.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fastjson"
)

// bodyBytes is about how much is sent in one request.
const bodyBytes = 1 << 20

// feed sends the samples of all records to url and returns how many there were.
func feed(url string, parallelism int) (int64, error) {
	records, err := strconv.ParseInt(os.Getenv("METRICS_RECORDS"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("environment: `METRICS_RECORDS`: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BOOTSTRAP")),
		kgo.ConsumeTopics(os.Getenv("METRICS_TOPIC")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return 0, fmt.Errorf("could not make a Kafka client: %w", err)
	}
	defer client.Close()
	batches := make(chan []*kgo.Record, 2*parallelism)
	failed := make(chan error, parallelism)
	var sent atomic.Int64
	var senders sync.WaitGroup
	for range parallelism {
		senders.Add(1)
		go func() {
			defer senders.Done()
			if err := send(url, batches, &sent); err != nil {
				failed <- err
			}
		}()
	}
	for read := int64(0); read < records; {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("could not read: %w", err)
		}
		var stopped error
		fetches.EachPartition(func(partition kgo.FetchTopicPartition) {
			read += int64(len(partition.Records))
			select {
			case batches <- partition.Records:
			case err := <-failed:
				stopped = err
			}
		})
		if stopped != nil {
			return 0, stopped
		}
	}
	close(batches)
	senders.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return sent.Load(), nil
	}
}

// send turns records into lines and posts them.
func send(url string, batches <-chan []*kgo.Record, sent *atomic.Int64) error {
	var parser fastjson.Parser
	body := make([]byte, 0, bodyBytes+4096)
	post := func() error {
		if len(body) == 0 {
			return nil
		}
		answer, err := http.Post(url, "text/plain", bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("could not post to vmagent: %w", err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			return errors.New("vmagent answered " + answer.Status)
		}
		body = body[:0]
		return nil
	}
	for batch := range batches {
		for _, record := range batch {
			sample, err := parser.ParseBytes(record.Value)
			if err != nil {
				return fmt.Errorf("a record is no JSON: %w", err)
			}
			name := sample.GetStringBytes("name")
			field := "used_percent"
			if string(name) == "cpu" {
				field = "usage_active"
			}
			value := sample.Get("fields", field)
			if value == nil {
				continue
			}
			body = append(append(body, name...), ",host="...)
			body = append(append(body, sample.GetStringBytes("tags", "host")...), " v="...)
			body = append(value.MarshalTo(body), '\n')
			sent.Add(1)
			if len(body) >= bodyBytes {
				if err := post(); err != nil {
					return err
				}
			}
		}
	}
	return post()
}
