// Produce sends payments: a line of the file, a transaction/1 in JSON, is a record.
//
//	produce BROKERS TOPIC FILE
//
// It prints where each payment was stored. It ends with 1 if one was not: mend what it reports, and send the file
// again; the payments that were stored are recognised by their transaction_id and content, and get no second decision.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	deliveryTimeout = 2 * time.Minute // bounds the client's own retries
	lookupTimeout   = 30 * time.Second
)

// A payment has, among others, these fields. It gets its transaction_id where it is made, once: a producer that drew
// one at each attempt would have the same payment decided twice.
type payment struct {
	TransactionID string `json:"transaction_id"`
	CardID        string `json:"card_id"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: produce BROKERS TOPIC FILE")
		os.Exit(2)
	}
	if err := produce(strings.Split(os.Args[1], ","), os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "produce:", err)
		os.Exit(1)
	}
}

func produce(brokers []string, topic, path string) error {
	records, ids, err := readRecords(path) // all, before the first is sent
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.DefaultProduceTopic(topic),
		// The default, which is the Java client's partitioner, murmur2 of the key: a card's payments must share a
		// partition. By default the producer is idempotent and waits for all replicas in sync, so that its own retries
		// change neither number nor order.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := refuseMissing(client, topic); err != nil {
		return err
	}
	failed := 0
	for _, result := range client.ProduceSync(context.Background(), records...) {
		id := ids[result.Record]
		if result.Err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "%s was not stored: %v\n", id, result.Err)
			continue
		}
		fmt.Println(id, result.Record.Partition, result.Record.Offset)
	}
	if failed > 0 {
		return fmt.Errorf("%d payments were not stored: mend the causes above, then send the file again", failed)
	}
	return nil
}

// refuseMissing returns an error if a topic does not exist. The client would not create it, but say so of each payment.
func refuseMissing(client *kgo.Client, topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	if err != nil {
		return fmt.Errorf("%s, no payment was sent: %w", topic, err)
	}
	return nil
}

// readRecords returns a record for each payment of a file, and the payment's transaction_id.
func readRecords(path string) ([]*kgo.Record, map[*kgo.Record]string, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var records []*kgo.Record
	ids := map[*kgo.Record]string{}
	for number, line := range bytes.Split(bytes.TrimSpace(file), []byte("\n")) {
		var read payment
		err := json.Unmarshal(line, &read)
		if err == nil && (read.TransactionID == "" || read.CardID == "") {
			err = errors.New("transaction_id or card_id is missing")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s, line %d, none was sent: %w", path, number+1, err)
		}
		record := &kgo.Record{
			Key:     []byte(read.CardID),
			Value:   line, // a retry sends the same
			Headers: []kgo.RecordHeader{{Key: "traceparent", Value: traceparent()}},
		}
		records = append(records, record)
		ids[record] = read.TransactionID
	}
	return records, ids, nil
}

// traceparent begins a trace (W3C Trace Context), which the worker continues and the score carries on. Where
// OpenTelemetry instruments the producer, it writes this header itself.
func traceparent() []byte {
	var trace [16]byte
	var span [8]byte
	rand.Read(trace[:])
	rand.Read(span[:])
	return fmt.Appendf(nil, "00-%x-%x-01", trace, span)
}
