-- What was done to one table ($1) that is to hold for another one ($2), in the order in which it is to be done.
-- Both are names, quoted and with their schema. The search path is empty, so that every name in a statement has its schema.
-- A row without a statement cannot be carried over.
WITH f AS (SELECT c.* FROM pg_class c WHERE c.oid = to_regclass($1)),
     t AS (SELECT c.* FROM pg_class c WHERE c.oid = to_regclass($2)),
     f_columns AS (SELECT a.* FROM pg_attribute a JOIN f ON a.attrelid = f.oid WHERE a.attnum > 0 AND NOT a.attisdropped),
     t_columns AS (SELECT a.* FROM pg_attribute a JOIN t ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped),
     -- Who may do what, by column (NULL: the whole table).
     rights AS (
       SELECT NULL::name AS attname, x.* FROM f, aclexplode(f.relacl) x WHERE x.grantee <> f.relowner
       UNION ALL
       SELECT a.attname, x.* FROM f, f_columns a, aclexplode(a.attacl) x WHERE x.grantee <> f.relowner
     ),
     granted AS (
       SELECT attname, is_grantable,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role,
              string_agg(privilege_type || coalesce(' (' || quote_ident(attname) || ')', ''), ', ' ORDER BY privilege_type) AS privileges
       FROM rights GROUP BY attname, is_grantable, grantee
     ),
     indexes AS (
       SELECT i.indexrelid, i.indrelid, i.indisvalid, ic.relname, CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END AS kind,
              -- Of the definition what stands behind the names of index and table.
              substr(pg_get_indexdef(i.indexrelid), length(format('CREATE %sINDEX %I ON %s%I.%I USING ',
                     CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname,
                     CASE c.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname)) + 1) AS definition
       FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
       JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE i.indrelid IN (SELECT oid FROM f UNION ALL SELECT oid FROM t) AND NOT i.indisprimary
         AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('u', 'x'))
     ),
     -- The key's own index, of a table whose key can be NULL: the first that is unique with NULLs as equals.
     key_index AS (
       SELECT min(i.indexrelid) AS indexrelid FROM indexes i JOIN f ON i.indrelid = f.oid
       WHERE i.kind <> '' AND i.definition LIKE '%) NULLS NOT DISTINCT%'
         AND NOT EXISTS (SELECT 1 FROM pg_index p WHERE p.indrelid = f.oid AND p.indisprimary)
     )
SELECT step, kind, what, statement FROM (
  SELECT 1 AS step, 'owner' AS kind, format('owner %I', pg_get_userbyid(f.relowner)) AS what,
         format('ALTER TABLE %s OWNER TO %I', $2, pg_get_userbyid(f.relowner)) AS statement
  FROM f, t WHERE f.relowner <> t.relowner

  UNION ALL
  SELECT 2, 'security', 'row level security',
         format('ALTER TABLE %s %s ROW LEVEL SECURITY', $2, CASE WHEN f.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END)
  FROM f, t WHERE f.relrowsecurity <> t.relrowsecurity

  UNION ALL
  SELECT 3, 'security', format('policy %I', p.polname), format('DROP POLICY %I ON %s', p.polname, $2)
  FROM t JOIN pg_policy p ON p.polrelid = t.oid, f

  UNION ALL
  SELECT 4, CASE WHEN p.polpermissive THEN 'policy' ELSE 'restriction' END, format('policy %I', p.polname),
         format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, $2,
                CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
                 FROM unnest(p.polroles) AS role),
                ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
                ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  FROM f JOIN pg_policy p ON p.polrelid = f.oid

  UNION ALL
  SELECT 5, 'force', 'row level security for the owner, too',
         format('ALTER TABLE %s %s ROW LEVEL SECURITY', $2, CASE WHEN f.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END)
  FROM f, t WHERE f.relforcerowsecurity <> t.relforcerowsecurity

  UNION ALL
  -- What the new table has by default privileges, or has had before, is not what holds now.
  SELECT 6, 'security', format('privileges of %s', role), format('REVOKE ALL ON TABLE %s FROM %s CASCADE', $2, role)
  FROM (
    SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS role
    FROM t, f, aclexplode(t.relacl) x WHERE x.grantee NOT IN (t.relowner, f.relowner)
    UNION
    SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
    FROM t, f, t_columns a, aclexplode(a.attacl) x WHERE x.grantee NOT IN (t.relowner, f.relowner)
  ) AS held

  UNION ALL
  SELECT 7, 'grant', format('%s for %s', privileges, role),
         CASE WHEN attname IS NULL OR attname IN (SELECT attname FROM t_columns)
           THEN format('GRANT %s ON TABLE %s TO %s%s', privileges, $2, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
         END
  FROM granted

  UNION ALL
  SELECT 8, 'comment', format('comment on column %I', a.attname),
         format('COMMENT ON COLUMN %s.%I IS %L', $2, a.attname, col_description(a.attrelid, a.attnum))
  FROM f_columns a JOIN t_columns b ON b.attname = a.attname
  WHERE col_description(a.attrelid, a.attnum) IS NOT NULL AND col_description(b.attrelid, b.attnum) IS NULL

  UNION ALL
  -- What somebody has added to the server's own comment.
  SELECT 9, 'comment', 'comment on the table',
         format('COMMENT ON TABLE %s IS %L', $2, obj_description(t.oid, 'pg_class') || words.added)
  FROM f, t, LATERAL (SELECT substring(obj_description(f.oid, 'pg_class') FROM '\)\. Do not edit\.(.+)$') AS added) AS words
  WHERE words.added IS NOT NULL AND obj_description(t.oid, 'pg_class') LIKE '%). Do not edit.'

  UNION ALL
  SELECT 10, 'index', format('index %I', i.relname),
         CASE WHEN i.indisvalid THEN format('CREATE %sINDEX ON %s USING %s', i.kind, $2, i.definition) END
  FROM indexes i JOIN f ON i.indrelid = f.oid
  WHERE i.indexrelid IS DISTINCT FROM (SELECT indexrelid FROM key_index)
    AND NOT EXISTS (SELECT 1 FROM indexes o JOIN t ON o.indrelid = t.oid WHERE o.kind = i.kind AND o.definition = i.definition)

  UNION ALL
  SELECT 11, 'left', format('constraint %I', k.conname), NULL
  FROM f JOIN pg_constraint k ON k.conrelid = f.oid WHERE k.contype IN ('c', 'f', 'u', 'x')
  UNION ALL
  SELECT 11, 'left', format('foreign key %I of %s', k.conname, k.conrelid::regclass), NULL
  FROM f JOIN pg_constraint k ON k.confrelid = f.oid WHERE k.contype = 'f' AND k.conparentid = 0
  UNION ALL
  SELECT 11, 'left', format('trigger %I', g.tgname), NULL FROM f JOIN pg_trigger g ON g.tgrelid = f.oid WHERE NOT g.tgisinternal
  UNION ALL
  SELECT 11, 'left', format('rule %I', r.rulename), NULL FROM f JOIN pg_rewrite r ON r.ev_class = f.oid
  UNION ALL
  SELECT 11, 'left', format('publication %I', p.pubname), NULL
  FROM f JOIN pg_publication_rel r ON r.prrelid = f.oid JOIN pg_publication p ON p.oid = r.prpubid
  UNION ALL
  SELECT DISTINCT 11, 'left', format('view %s, which reads the old table', r.ev_class::regclass), NULL
  FROM f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> f.oid
) AS found
ORDER BY step, what
