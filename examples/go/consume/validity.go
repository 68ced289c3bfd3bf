package main

import (
	"encoding/json"
	"math"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The limits of a source, as the schema of score/1 has them.
const (
	maxLog    = 511
	maxOffset = 1<<44 - 1
)

// A score has, among others, these fields. The pointers are nil where a field is null, or absent without a default.
type score struct {
	Schema        string  `json:"schema"`
	TransactionID *string `json:"transaction_id"`
	Decision      *string `json:"decision"`
	DecidedBy     *string `json:"decided_by"`
	Epoch         *int64  `json:"epoch"`
	Source        struct {
		Log    *int64 `json:"log"` // 0 where absent
		Offset *int64 `json:"offset"`
	} `json:"source"`
}

// A standing is what the validity of a partition's next score depends on: the highest epoch so far, and the source of
// the last valid score.
type standing struct {
	highestEpoch, lastLog, lastOffset int64
}

// validScores applies the rule of valid scores to records of the scores topic, each partition in order.
type validScores struct {
	standings        map[int32]standing
	void, unreadable int
}

// take returns the decision of a record, if its score is valid.
//
// A score is valid if its epoch is not below the highest so far, and its source's log and offset are above those of the
// last valid score. A void score counts for the highest epoch too.
func (v *validScores) take(record *kgo.Record) (decision, bool) {
	read, ok := readScore(record.Value)
	if !ok {
		v.unreadable++
		return decision{}, false
	}
	now, found := v.standings[record.Partition]
	if !found {
		now = standing{highestEpoch: -1, lastOffset: -1}
	}
	epoch, log, offset := *read.Epoch, *read.Source.Log, *read.Source.Offset
	valid := epoch >= now.highestEpoch && (log > now.lastLog || log == now.lastLog && offset > now.lastOffset)
	if valid {
		now.lastLog, now.lastOffset = log, offset
	} else {
		v.void++
	}
	now.highestEpoch = max(now.highestEpoch, epoch)
	v.standings[record.Partition] = now
	return decision{
		Partition: record.Partition, Offset: record.Offset, Epoch: epoch, Log: log, SourceOffset: offset,
		TransactionID: *read.TransactionID, Decision: *read.Decision, DecidedBy: *read.DecidedBy,
	}, valid
}

// standingsAfter returns the standings behind the last decisions: after a valid score, they are its own epoch and source.
func standingsAfter(last map[int32]decision) map[int32]standing {
	standings := map[int32]standing{}
	for partition, decided := range last {
		standings[partition] = standing{decided.Epoch, decided.Log, decided.SourceOffset}
	}
	return standings
}

// readScore returns the score of a record's value, or false if it has none of the version that is known here.
func readScore(value []byte) (score, bool) {
	var read score
	read.Source.Log = new(int64)
	if !utf8.Valid(value) || json.Unmarshal(value, &read) != nil || read.Schema != "score/1" {
		return read, false
	}
	named := read.TransactionID != nil && read.Decision != nil && read.DecidedBy != nil
	return read, named && within(read.Epoch, math.MaxInt64) && within(read.Source.Log, maxLog) &&
		within(read.Source.Offset, maxOffset)
}

func within(number *int64, limit int64) bool {
	return number != nil && *number >= 0 && *number <= limit
}
