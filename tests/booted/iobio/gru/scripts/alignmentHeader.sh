#!/bin/bash
samtools view -H "$1" | cat
