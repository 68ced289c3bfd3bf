// Consume reads the valid decisions, each exactly once, whatever happens to this process.
//
//	consume BROKERS TOPIC FILE
//
// It appends them to the file and prints them, until Ctrl-C or SIGTERM. One process for a file; start it again after
// partitions were added to the topic.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"fraudstream/client"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: consume BROKERS TOPIC FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, strings.Split(os.Args[1], ","), os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "consume:", err)
		os.Exit(1)
	}
}

func consume(ctx context.Context, brokers []string, topic, path string) error {
	file, err := openDecisions(path)
	if err != nil {
		return err
	}
	defer file.Close()
	// If the next score was deleted, say so rather than pass over some.
	kafka, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return err
	}
	defer kafka.Close()
	if err := assign(ctx, kafka, topic, file.last); err != nil {
		return err
	}
	scores := client.ValidScores{Standings: standingsAfter(file.last)}
	for {
		fetches := kafka.PollFetches(ctx)
		if ctx.Err() != nil {
			fmt.Fprintf(os.Stderr, "%d void, %d unreadable\n", scores.Void, scores.Unreadable)
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		var valid []decision
		unreadable := scores.Unreadable
		fetches.EachRecord(func(record *kgo.Record) {
			if score, ok := scores.Take(record.Partition, record.Value); ok {
				valid = append(valid, decisionOf(record, score))
			}
		})
		if err := file.add(valid); err != nil {
			return err
		}
		if scores.Unreadable > unreadable {
			fmt.Fprintf(os.Stderr, "%s: %d unreadable so far, no score/1: are the workers newer?\n", topic, scores.Unreadable)
		}
	}
}

// assign makes the client read all partitions of a topic, each from behind its last decision.
func assign(ctx context.Context, kafka *kgo.Client, topic string, last map[int32]decision) error {
	topics, err := kadm.NewClient(kafka).ListTopics(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", topic, err)
	}
	starts := map[int32]kgo.Offset{}
	for _, partition := range topics[topic].Partitions.Numbers() {
		starts[partition] = kgo.NewOffset().AtStart()
		if decided, found := last[partition]; found {
			starts[partition] = kgo.NewOffset().At(decided.Offset + 1)
		}
	}
	kafka.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts})
	return nil
}
