// Package client is what a Go program needs beside its Kafka client to read fraudstream's decisions: which scores
// count, and which arm of a canary or a split decides a card.
package client

import (
	"encoding/json"
	"math"
	"unicode/utf8"
)

// The limits of a source, as the schema of score/1 has them.
const (
	maxLog    = 511
	maxOffset = 1<<44 - 1
)

// A Score is a decision, score/1. It counts only if it is valid: see ValidScores.
type Score struct {
	Epoch        int64 // which owner of the partition wrote it
	Log          int64 // of its transaction; 0 where the record has none
	SourceOffset int64 // of its transaction

	TransactionID, Decision, DecidedBy string

	Attributes map[string]string // the texts of the payment's declared categories; nil where there are none
}

// A Standing is what the validity of a partition's next score depends on: the highest epoch of all scores so far, void
// ones included, and the source of the last valid one.
type Standing struct {
	HighestEpoch, LastLog, LastOffset int64
}

// First is the standing before the first score of a partition.
var First = Standing{HighestEpoch: -1, LastOffset: -1}

// IsValid tells whether a score is valid if it comes next.
func (s Standing) IsValid(score Score) bool {
	above := score.Log > s.LastLog || score.Log == s.LastLog && score.SourceOffset > s.LastOffset
	return score.Epoch >= s.HighestEpoch && above
}

// After returns the standing after such a score, valid or void.
func (s Standing) After(score Score) Standing {
	if s.IsValid(score) {
		return Standing{score.Epoch, score.Log, score.SourceOffset}
	}
	s.HighestEpoch = max(s.HighestEpoch, score.Epoch)
	return s
}

// ValidScores applies the rule of valid scores to the records of the scores topic, each partition in order.
//
// A score is valid if its epoch is not below the highest so far, and its source's log and offset are above those of the
// last valid one. Store Standings with your own offsets, and begin with them: after a valid score, they are that
// score's own epoch, log and offset. The zero value begins each partition at its first record. For one goroutine.
type ValidScores struct {
	Standings map[int32]Standing
	Void      int // scores that do not count
	// Records that are no score of the version that is known here.
	Unreadable int
}

// Take returns the score of the next record of a partition, if it is valid; the value is nil in a tombstone.
func (v *ValidScores) Take(partition int32, value []byte) (Score, bool) {
	score, ok := ReadScore(value)
	if !ok {
		v.Unreadable++
		return Score{}, false
	}
	standing, found := v.Standings[partition]
	if !found {
		standing = First
	}
	if v.Standings == nil {
		v.Standings = map[int32]Standing{}
	}
	v.Standings[partition] = standing.After(score)
	if !standing.IsValid(score) {
		v.Void++
		return Score{}, false
	}
	return score, true
}

// ReadScore returns the score of a record's value, or false if it has none of the version that is known here.
func ReadScore(value []byte) (Score, bool) {
	// The pointers are nil where a field is null, or absent without a default.
	var read struct {
		Schema        string  `json:"schema"`
		TransactionID *string `json:"transaction_id"`
		Decision      *string `json:"decision"`
		DecidedBy     *string `json:"decided_by"`
		Epoch         *int64  `json:"epoch"`
		Source        struct {
			Log    *int64 `json:"log"` // 0 where absent
			Offset *int64 `json:"offset"`
		} `json:"source"`
		Attributes json.RawMessage `json:"attributes"`
	}
	read.Source.Log = new(int64)
	if !utf8.Valid(value) || json.Unmarshal(value, &read) != nil || read.Schema != "score/1" {
		return Score{}, false
	}
	named := read.TransactionID != nil && read.Decision != nil && read.DecidedBy != nil
	if !named || !within(read.Epoch, math.MaxInt64) || !within(read.Source.Log, maxLog) ||
		!within(read.Source.Offset, maxOffset) {
		return Score{}, false
	}
	var attributes map[string]string
	if len(read.Attributes) > 0 && json.Unmarshal(read.Attributes, &attributes) != nil {
		attributes = nil // a record that no worker writes: it counts all the same
	}
	return Score{
		Epoch: *read.Epoch, Log: *read.Source.Log, SourceOffset: *read.Source.Offset,
		TransactionID: *read.TransactionID, Decision: *read.Decision, DecidedBy: *read.DecidedBy,
		Attributes: attributes,
	}, true
}

func within(number *int64, limit int64) bool {
	return number != nil && *number >= 0 && *number <= limit
}
