// Package datasets has the commands on data: check, preview, shard, ledger.
package datasets
